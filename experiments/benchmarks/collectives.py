"""Communication between devices, from the text of a compiled program."""

import math
import re
from typing import NamedTuple

_KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8}
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (.*?) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:body|to_apply|calls|true_computation|false_computation)=%([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{(.*?)\}")
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class Sent(NamedTuple):
    """A collective of a program.

    Attributes:
      kind: "all-reduce", …
      size: Size of its result on a device, in bytes.
      times: Number of executions: in a loop, its iterations, or 1 if these are unknown.
    """

    kind: str
    size: int
    times: int


def collectives(text: str) -> list[Sent]:
    """Returns the collectives of a program, including those of all branches.

    Args:
      text: Text of the program after optimization, `compiled.as_text()`.
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

    def sent_by(name: str, times: int) -> list[Sent]:
        found = []
        for result, kind, rest in filter(None, map(_parts, bodies.get(name, ()))):
            if kind in _KINDS:
                found.append(Sent(kind, _size(result), times))
                continue
            called = _CALLED.findall(rest)
            for names in _BRANCHES.findall(rest):
                called += [name.strip().lstrip("%") for name in names.split(",")]
            turns = _TURNS.search(rest) if kind == "while" else None
            for other in called:
                found += sent_by(other, times * (int(turns[1]) if turns else 1))
        return found

    return sent_by(entry, 1)


def _parts(line: str) -> tuple[str, str, str] | None:
    """Returns type, kind and the rest of an instruction; None for other lines."""
    found = _INSTRUCTION.match(line)
    return found and (found[1], found[2].removesuffix("-start"), found[3])


def _size(result: str) -> int:
    """Returns the size in bytes of arrays given by their types in the text."""
    return sum(
        _BYTES[kind] * math.prod(int(n) for n in dims.split(",") if n)
        for kind, dims in _ARRAY.findall(result)
    )
