"""Train one chatbot's model on CLINC150 and write it as a project that `sprue build` takes.

    python models/chatbot/train.py --domain banking --architecture bilstm --out PROJECT/models/banking
    sprue build PROJECT/recipes/banking.toml

Intents: one domain, `--sample 15 --seed 7`, or all 150. The test split is looked at once, at the end. The
same versions of torch and numpy give the same files on the same processor. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":  # run as a script: the other modules are found from the checkout's root
    sys.path[0] = str(PROJECT)

from models.chatbot import corpus  # noqa: E402
from models.chatbot.encoding import tokenizer_of  # noqa: E402
from models.chatbot.export import write_model, write_recipe  # noqa: E402
from models.chatbot.networks import Architecture  # noqa: E402
from models.chatbot.quality import report, told  # noqa: E402
from models.chatbot.training import plan, train  # noqa: E402

SEED = 20261125


@dataclass(frozen=True)
class Options:
    architecture: Architecture
    seed: int
    taught: bool
    texts: int | None


def make(out: Path, chosen: corpus.Corpus, options: Options) -> str:
    """Train on `chosen`, write the model into `out` and its recipe; what it reached, in words."""
    if options.texts is not None:
        chosen = corpus.shortened(chosen, options.texts)
    tokenizer = tokenizer_of(chosen.training.texts)
    wanted = plan(options.architecture, len(chosen.intents), taught=options.taught)
    net = train(chosen.training, len(chosen.intents), tokenizer, wanted, options.seed)
    found = report(net, chosen, tokenizer, options.architecture, options.seed)
    write_recipe(out.parent.parent / "recipes", out.name)
    write_model(out, net, chosen, tokenizer, found, options.seed)
    return told(found)


def add_options(parser: argparse.ArgumentParser, seed: int = SEED) -> None:
    """The options that training one chatbot and training many have in common."""
    parser.add_argument("--architecture", choices=["bilstm", "transformer"], default="bilstm")
    parser.add_argument("--seed", type=int, default=seed, help="of the weights and of the draw of intents")
    parser.add_argument("--alone", action="store_true", help="without teachers: a quarter of the time")
    parser.add_argument("--texts", type=int, metavar="N", help="use only the first N texts of each intent")


def options_of(given: argparse.Namespace) -> Options:
    return Options(given.architecture, given.seed, not given.alone, given.texts)


def refuse_checkout(parser: argparse.ArgumentParser, out: Path) -> None:
    """CLINC150 is CC BY 3.0 and has no place in the repository, not even encoded."""
    if out.resolve().is_relative_to(PROJECT):
        parser.error(f"--out {out} is inside the checkout, which holds no data of CLINC150; choose another")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--domain", help="one domain of CLINC150, such as banking")
    chosen.add_argument("--sample", type=int, metavar="N", help="N intents, drawn with the seed")
    add_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="the model's folder: PROJECT/models/NAME")
    given = parser.parse_args()
    refuse_checkout(parser, given.out)
    if given.out.resolve().parent.name != "models":
        parser.error(f"--out {given.out} is no folder in a folder 'models': sprue finds models there")
    try:
        source = corpus.read()
        intents = source.intents
        if given.domain:
            intents = corpus.domain(source, given.domain)
        elif given.sample is not None:
            intents = corpus.sample(source, given.sample, given.seed)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    print(make(given.out, corpus.select(source, intents), options_of(given)))
    print(f"next: sprue build {given.out.parent.parent / 'recipes' / given.out.name}.toml")


if __name__ == "__main__":
    main()
