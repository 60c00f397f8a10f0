"""Static int8 quantization of ONNX files: smaller, not always faster."""

import pathlib
import tempfile

import numpy as np

from gpnas._files import PathLike

_BATCH = 100  # images per call in calibration


def quantize(source: PathLike, path: PathLike, images: np.ndarray) -> None:
    """Writes an int8 ONNX file with per-channel weights and calibrated activation ranges.

    Args:
      source: A float32 file from `to_onnx`.
      path: File to write.
      images: (n, height, width, channels) pixels for calibration, none of them test images.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, path = pathlib.Path(source), pathlib.Path(path)
    starts = range(0, len(images), _BATCH)
    parts = ({"images": np.asarray(images[i : i + _BATCH], np.float32)} for i in starts)

    class Calibration(quantization.CalibrationDataReader):
        """onnxruntime requires a class."""

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(parts, None)

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        prepared = pathlib.Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(path),
            Calibration(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
        )
    model = onnx.load(str(path))  # quantization drops the metadata
    onnx.helper.set_model_props(
        model, {prop.key: prop.value for prop in onnx.load(str(source)).metadata_props}
    )
    onnx.save(model, str(path))
