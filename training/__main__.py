"""`python -m training`: makes cria from a seed, from tokenizer to GGUF, and prints how well it answers."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokenizers import Tokenizer

from training.book import Book, load
from training.evaluate import Quiz, answers, table
from training.export import export
from training.questions import Item, by_hand, held_out
from training.taught import write as write_taught
from training.tokenizer import train as train_tokenizer
from training.train import Plan, Run, resume, train


def main() -> None:
    """Tokenizer, training, export, evaluation; `--evaluate` does the last alone, on a GGUF that exists."""
    parser = argparse.ArgumentParser(prog="python -m training", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/cria"), help="folder for the results")
    parser.add_argument("--resume", action="store_true", help="take up the run whose checkpoint is in the folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=float, default=Plan().tokens, help="tokens to train on")
    parser.add_argument("--threads", type=int, default=Plan().threads)
    parser.add_argument("--learning-rate", type=float, default=Plan().learning_rate)
    parser.add_argument("--decay", type=float, default=Plan().decay, help="share of steps with a falling rate")
    parser.add_argument("--vocab-size", type=int, default=2048)
    parser.add_argument("--questions", type=int, default=10, help="questions per intent and language in the evaluation")
    parser.add_argument("--evaluate", action="store_true", help="do not train")
    args = parser.parse_args()

    book, gguf = load(), args.out / "cria.gguf"
    if not args.evaluate:
        run, tokenizer = _run(book, args)
        quiz = Quiz(book, tokenizer)
        write_taught(book, args.out / "taught.json")
        export(train(run, quiz, args.out, lambda line: print(line, flush=True)), tokenizer, gguf)
    report(book, gguf, args.questions)


def _run(book: Book, args: argparse.Namespace) -> tuple[Run, Tokenizer]:
    """A new run, or the one to be taken up, whose plan is in its checkpoint."""
    path = str(args.out / "tokenizer.json")
    if args.resume:
        tokenizer = Tokenizer.from_file(path)
        return resume(book, tokenizer, args.out / "state.pt"), tokenizer
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(book, args.vocab_size, seed=args.seed)
    tokenizer.save(path)
    plan = Plan(
        tokens=args.tokens, seed=args.seed, threads=args.threads, learning_rate=args.learning_rate, decay=args.decay
    )
    return Run(book, tokenizer, plan), tokenizer


def report(book: Book, gguf: Path, count: int) -> None:
    """Print accuracy per task and language, then the mistakes."""
    items = [item for item in (*held_out(book, count), *by_hand()) if not item.turn.forced]  # what needs no grammar
    said = answers(gguf, items)
    for task, cells in table(items, said).items():
        shown = (f"{lang} {100 * right / total:.1f} % of {total}" for lang, (right, total) in cells.items())
        print(f"{task}: {', '.join(shown)}")
    wrong = [(item, answer) for item, answer in zip(items, said, strict=True) if not item.turn.right(answer)]
    print(f"all: {100 - 100 * len(wrong) / len(items):.1f} % of {len(items)}")
    for item, answer in wrong:
        print(_mistake(item, answer))


def _mistake(item: Item, answer: str) -> str:
    return f"  {item.task} {item.language} | {item.turn.question} | {answer} | {item.turn.said()}"


if __name__ == "__main__":
    main()
