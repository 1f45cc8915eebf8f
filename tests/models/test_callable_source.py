"""A model's source may be a Python callable: here one that exports from torch, as a user's own would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from sprue.graph import inputs, outputs, serialise
from sprue.model import load_model
from sprue.source import call_source, checked

PERCEPTRON = """
import io, warnings
import onnx, torch
from torch import nn

def export():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).eval()
    with torch.no_grad():
        net[2].weight.zero_()
        net[2].bias.copy_(torch.tensor([0.5, -2.0]))
    data = io.BytesIO()
    warnings.simplefilter("ignore", DeprecationWarning)
    axes = {"x": {0: "batch"}, "y": {0: "batch"}}
    torch.onnx.export(net, (torch.zeros(1, 3),), data, input_names=["x"], output_names=["y"],
                      dynamic_axes=axes, opset_version=18, dynamo=False)
    print("exported")
    return onnx.load_model_from_string(data.getvalue())
"""


@pytest.mark.slow
def test_a_torch_export_is_a_source(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch (the extra `train`)")
    (tmp_path / "train.py").write_text(PERCEPTRON)
    np.savez(tmp_path / "evaluation.npz", x=np.zeros((4, 3), np.float32), label=np.zeros(4, np.int64))
    (tmp_path / "model.toml").write_text(
        'source = "train.py:export"\nmetric = "accuracy"\n[data]\nevaluation = "evaluation.npz"\n'
    )
    model = load_model(tmp_path)
    assert model.function == "export"

    made = checked(call_source(model.source, model.function, tmp_path / "made.onnx", timeout=120), "train.py")

    assert [str(t) for t in (*inputs(made), *outputs(made))] == ["x: float32[?, 3]", "y: float32[?, 2]"]
    assert made.producer_name == ""
    session = onnxruntime.InferenceSession(serialise(made), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.ones((5, 3), np.float32)})
    np.testing.assert_allclose(y, [[0.5, -2.0]] * 5)


@pytest.mark.slow
def test_the_intent_sample_can_be_built_from_its_train_py(tmp_path: Path) -> None:
    """Its script imports `dataset.py` beside it, as a user's script would import its own modules."""
    pytest.importorskip("torch", reason="needs torch (the extra `train`)")
    source = Path(__file__).resolve().parents[2] / "models" / "intent" / "train.py"
    made = call_source(source, "export", tmp_path / "made.onnx", timeout=240)
    assert [n.op_type for n in made.graph.node].count("LSTM") == 1
