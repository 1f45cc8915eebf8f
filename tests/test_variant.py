"""Names of variants: readable, unique, and of the artifact alone where only the settings differ."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from sprue.target import PRECISIONS, load_target
from sprue.variant import OPTIMIZATIONS, Compression, Settings, Variant

TARGET = load_target("server-cpu")

shares = st.sampled_from([0.0, 0.125, 0.3, 0.5])
variants = st.builds(
    Variant,
    st.just(TARGET),
    st.sampled_from(["onnxruntime", "c"]),
    st.sampled_from(PRECISIONS),
    st.builds(Compression, shares, shares, st.sampled_from([0, 16])),
    st.just(()),
    st.builds(Settings, st.integers(1, 3), st.booleans(), st.sampled_from(OPTIMIZATIONS)),
    st.sampled_from(["float32", "int8"]),
)


@given(variants, variants)
def test_two_variants_of_one_name_are_one_variant(one: Variant, other: Variant) -> None:
    assert (one.id == other.id) is (one == other)
    assert (one.artifact_id == other.artifact_id) is (one.on(Settings()) == other.on(Settings()))


@given(variants)
def test_a_variant_comes_back_from_json(variant: Variant) -> None:
    assert Variant.from_json(json.loads(json.dumps(variant.to_json()))) == variant


def test_names_say_what_is_not_as_usual() -> None:
    assert Variant(TARGET, "onnxruntime", "int8-static").id == "onnxruntime-int8-static"
    mixed = Variant(TARGET, "onnxruntime", "int8-static", float_layers=("a", "b"))
    assert mixed.id == "onnxruntime-int8-mixed2"
    small = Variant(TARGET, "c", "float32", Compression(prune=0.125, cluster=16))
    assert (
        small.on(Settings(2, True, "off")).id
        == "c-float32-pruned12.5-clustered16-2threads-spinning-graph-off"
    )
    assert small.on(Settings(2)).artifact_id == "c-float32-pruned12.5-clustered16"
    assert Variant(TARGET, "c", "int8-static", border="int8").id == "c-int8-static-int8-border"
