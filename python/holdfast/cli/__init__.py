"""The command `holdfast`.

Each subcommand imports what it needs when it runs: `holdfast --version` works without LangChain.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import holdfast

__all__ = ["main"]

# What a shell reports for a program that Ctrl-C has ended: 128 + SIGINT.
INTERRUPTED = 130
WRONG = 2
SCENES = range(1, 6)

EXAMPLES = """\
examples:
  holdfast demo                      half a minute: a provider is killed, and no call fails
  holdfast demo --scene 5            one short scene: a chat stream that is cut
  holdfast doctor                    what the libraries installed here retry, and how long they wait
  holdfast doctor app.models:chat    the same of one object of yours

exit codes:
  0  all is well      1  something did not hold, or something was found
  2  the arguments are wrong, or something is missing      130  interrupted
"""


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
    try:
        if options.command == "demo":
            from holdfast.demo import run

            return run(options.scene, options.json)
        if options.command == "doctor":
            from holdfast.cli.doctor import doctor

            return doctor(options.targets, options.json)
    except KeyboardInterrupt:
        return INTERRUPTED
    parser.print_help()
    return 0


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in a sentence, and what to ask for help."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with code 2."""
        sys.stderr.write(f"{self.prog}: {_sentence(message)}\n`{self.prog} --help` shows what there is.\n")
        sys.exit(WRONG)


def _sentence(message: str) -> str:
    """What argparse says, as a sentence."""
    if found := re.match(r"argument COMMAND: invalid choice: '(.*?)' \(", message):
        return f"there is no command {found[1]!r}."
    if found := re.match(r"argument --scene: .*: '?([^' ]*)'?(?: \(.*)?$", message):
        return f"there is no scene {found[1]}: they are numbered from {SCENES[0]} to {SCENES[-1]}."
    if found := re.match(r"unrecognized arguments: (.*)", message):
        return f"it does not know what to do with {found[1]!r}."
    return f"{message[:1].lower()}{message[1:]}."


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="holdfast",
        description="Fault tolerance for LLM applications.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"holdfast {holdfast.__version__}",
        help="show the version and exit",
    )
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="a tour: breakers, a cut stream, and a server that is killed while calls run",
        description="Plays five short scenes, then starts three OpenAI-compatible servers on this machine, drives them "
        "through a failover chain of langchain_openai.ChatOpenAI, kills one while calls run, and starts it again. "
        "Needs neither an account nor a network, and takes half a minute. Exits with 0 if all held, 1 if something "
        "did not, 2 if langchain-openai is not installed.",
    )
    demo.add_argument(
        "--scene",
        type=int,
        choices=SCENES,
        metavar="N",
        help="only one of the five short scenes: 1 a breaker trips, 2 it recovers, 3 a node fails its health checks, "
        "4 the event log, 5 a chat stream is cut",
    )
    demo.add_argument(
        "--json", type=Path, metavar="FILE", help="also write what happened in the long tour, call by call"
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
