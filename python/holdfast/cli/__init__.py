"""The command `holdfast`.

Each subcommand imports what it needs when it runs: `holdfast --version` works without LangChain.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import holdfast

__all__ = ["main"]

# What a shell reports for a program that Ctrl-C has ended: 128 + SIGINT.
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The arguments after the program's name; by default those of this process.

    Returns:
        The exit code: 0 if all went well, 1 if something did not hold, 2 if something is missing,
        130 if it was interrupted.

    Raises:
        SystemExit: The arguments are wrong (code 2), or help or the version was asked for (code 0).
    """
    parser = _parser()
    options = parser.parse_args(argv)
    if options.command == "demo":
        return _demo(options.scene)
    if options.command == "doctor":
        from holdfast.cli.doctor import doctor

        return doctor(options.targets, options.json)
    parser.print_help()
    return 0


def _demo(scene: int | None) -> int:
    try:
        from holdfast.demo import run

        return run(scene)
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="holdfast", description="Fault tolerance for LLM applications.")
    parser.add_argument("--version", action="version", version=f"holdfast {holdfast.__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="")
    demo = commands.add_parser(
        "demo",
        help="a tour: three local servers, one of them killed while calls run",
        description="Starts three OpenAI-compatible servers on this machine, drives them through a failover "
        "chain of langchain_openai.ChatOpenAI, kills one while calls run, and starts it again. Needs neither "
        "an account nor a network, and takes half a minute. Exits with 0 only if all held.",
    )
    demo.add_argument(
        "--scene",
        type=int,
        choices=range(1, 6),
        help="only one of the five short scenes: 1 a breaker trips, 2 it recovers, 3 a node fails its health checks, "
        "4 the event log, 5 a chat stream is cut",
    )
    looks = commands.add_parser(
        "doctor",
        help="what is installed here: hidden retries, missing timeouts, and what to change",
        description="Reads the defaults of the LLM libraries that are installed here, or what the objects given are "
        "set to. Asks nobody anything. Exits with 0 if nothing multiplies calls or waits without end, 1 if something "
        "does, 2 if it could not look.",
    )
    looks.add_argument(
        "targets",
        nargs="*",
        metavar="module:attribute",
        help="a client, a model, a Runnable or a guarded function; without any, the environment",
    )
    looks.add_argument("--json", action="store_true", help="print one JSON document")
    return parser
