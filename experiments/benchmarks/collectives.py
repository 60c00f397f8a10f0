"""What devices send each other, by the text of a compiled program."""

import math
import re
from typing import NamedTuple

_KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8}
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (.*?) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class Sent(NamedTuple):
    """A collective of a program.

    Attributes:
      kind: "all-reduce", …
      size: Bytes of its result on a device.
      times: How often it is done: in a loop, the loop's turns, or once where they are not known.
    """

    kind: str
    size: int
    times: int


def collectives(text: str) -> list[Sent]:
    """The collectives of a program, those of all branches included.

    Args:
      text: Of the program after optimization, `compiled.as_text()`.
    """
    bodies: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        if begun := _COMPUTATION.match(line):
            name = begun[1]
            bodies[name] = []
            entry = name if line.startswith("ENTRY") else entry
        elif name:
            bodies[name].append(line)

    def walk(name: str, times: int) -> list[Sent]:
        found = []
        for line in bodies.get(name, ()):
            parts = _INSTRUCTION.match(line)
            if parts is None:
                continue
            result, kind, rest = parts.groups()
            kind = kind.removesuffix("-start")
            if kind in _KINDS:
                found.append(Sent(kind, _size(result), times))
            elif kind in ("while", "conditional", "call", "fusion"):
                turns = _TURNS.search(rest) if kind == "while" else None
                inner = times * (int(turns[1]) if turns else 1)
                called = re.findall(r"(?:body|to_apply|calls)=%([\w.\-]+)", rest)
                branches = re.search(r"branch_computations=\{(.*?)\}", rest)
                called += _NAME.findall(branches[1]) if branches else []
                called += re.findall(r"(?:true|false)_computation=%([\w.\-]+)", rest)
                for other in called:
                    found += walk(other, inner)
        return found

    return walk(entry, 1)


def _size(result: str) -> int:
    arrays = _ARRAY.findall(result)
    return sum(_BYTES[kind] * math.prod(int(n) for n in dims.split(",") if n) for kind, dims in arrays)
