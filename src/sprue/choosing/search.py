"""Which of very many variants to try next: Optuna's tree-structured Parzen estimator over the recipe's lists.

What comes next is a function of what was tried and of the seed, and of nothing else: no study is stored. A
trial's steps are cached actions, so a search that was stopped, or is given more time, replays what it knows
in no time and goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sprue.backend import find
from sprue.choosing.candidates import Space
from sprue.errors import SprueError
from sprue.target import Precision, Target
from sprue.variant import Compression, Settings, Variant

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

BATCH = 4
"""Trials that are chosen at once, and run side by side: the same for any number of workers."""
STARTUP = 8
"""Trials before the estimator has anything to go by; until then they are random."""
ATTEMPTS = 64
"""How often what was tried already may come up before the space counts as searched."""
PENALTY = 1e15
"""More than any cost, in bytes or instructions: a trial that breaks what is accepted is worse than any that
holds, the more the further it is off."""

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """`cost`: what is to be small, in any unit; None where nobody could tell. `over`: see `Result`."""

    variant: Variant
    cost: float | None
    over: float | None
    passed: bool

    @property
    def value(self) -> float:
        if self.passed and self.cost is not None:
            return self.cost
        return PENALTY * (1 + min(self.over if self.over is not None else PENALTY, PENALTY))


@dataclass(frozen=True)
class Axes:
    """All that can be chosen: pairs of backend and precision, and the lists of the recipe."""

    target: Target
    builds: tuple[tuple[str, Precision], ...]
    space: Space

    def choices(self) -> dict[str, list[Any]]:
        space = self.space
        named = {
            "prune": space.prune,
            "sparsity": space.sparsity,
            "cluster": space.cluster,
            "threads": space.threads,
            "spinning": space.spinning,
            "optimization": space.optimization,
        }
        made: dict[str, list[Any]] = {"build": ["/".join(b) for b in self.builds]}
        return made | {name: list(values) for name, values in named.items() if len(values) > 1}

    def variant(self, point: Point) -> Variant:
        """What a point means; axes without a choice have their only value."""
        backend, _, precision = point["build"].partition("/")
        value = {n: point.get(n, getattr(self.space, n)[0]) for n in Space.LISTS}
        settings = Settings(value["threads"], value["spinning"], value["optimization"])
        compression = Compression(value["prune"], value["sparsity"], value["cluster"])
        reads = find(backend).settings
        settings = settings.only(reads)
        return Variant(self.target, backend, precision, compression, (), settings, self.space.border)

    def point(self, variant: Variant) -> Point | None:
        """The other way round; None for what lies outside, such as a set of float layers."""
        values = {
            "build": f"{variant.backend}/{variant.precision}",
            **vars(variant.compression),
            **vars(variant.settings),
        }
        chosen = {name: values[name] for name in self.choices()}
        inside = all(chosen[name] in allowed for name, allowed in self.choices().items())
        return chosen if inside and not variant.float_layers else None


def refuse_without_optuna(place: str) -> None:
    """Raises SprueError when the extra is not installed. `place`: where the search was asked for."""
    if find_spec("optuna") is None:
        raise SprueError("[search] needs optuna", where=place, remedy="pip install 'sprue[search]'")


def propose(axes: Axes, trials: Sequence[Trial], seed: int, count: int = BATCH) -> list[Variant]:
    """The next variants to try, none of them tried before; fewer than `count`, or none, at the end.

    First every build as it is, then what the trials so far suggest.
    """
    tried = {t.variant for t in trials}
    plain = (axes.variant({"build": "/".join(b)}) for b in axes.builds)
    new = [v for v in dict.fromkeys(plain) if v not in tried][:count]
    return new or list(_suggested(axes, trials, seed, count))


def _suggested(axes: Axes, trials: Sequence[Trial], seed: int, count: int) -> Iterator[Variant]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed + len(trials), n_startup_trials=STARTUP)
    study = optuna.create_study(sampler=sampler)
    distributions: dict[str, BaseDistribution] = {
        name: optuna.distributions.CategoricalDistribution(allowed)
        for name, allowed in axes.choices().items()
    }
    known = {t.variant: t.value for t in trials}
    for trial in trials:
        _tell(study, distributions, axes.point(trial.variant), trial.value)
    for _ in range(ATTEMPTS):
        asked = study.ask(distributions)
        variant = axes.variant(asked.params)
        if variant in known:
            study.tell(asked, known[variant])  # its neighbours become likelier, or less so
            continue
        known[variant] = PENALTY  # not known yet: only so that it is not suggested twice
        yield variant
        count -= 1
        if count == 0:
            return


def _tell(
    study: Study, distributions: Mapping[str, BaseDistribution], point: Point | None, value: float
) -> None:
    import optuna

    if point is not None:
        study.add_trial(
            optuna.trial.create_trial(params=dict(point), distributions=dict(distributions), value=value)
        )
