"""`nodelink completion`: what a shell needs to complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, FishComplete, add_completion_class, get_completion_class

from nodelink.cli.choice import Choice
from nodelink.cli.manual import command

PROGRAM = "nodelink"
SHELLS = ("bash", "zsh", "fish")


class _FishComplete(FishComplete):
    """As click's own, whose script takes a comma for the end of a description."""

    def format_completion(self, item: CompletionItem[str]) -> str:
        """A line for the script."""
        return super().format_completion(CompletionItem(item.value, item.type, (item.help or "").replace(",", ";")))


add_completion_class(_FishComplete)


@command(
    name="completion",
    examples=(
        """bash: echo 'eval "$(nodelink completion bash)"' >> ~/.bashrc""",
        """zsh:  echo 'eval "$(nodelink completion zsh)"' >> ~/.zshrc""",
        "fish: nodelink completion fish > ~/.config/fish/completions/nodelink.fish",
    ),
)
@click.argument("shell", type=Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL (bash 4.4 or later, zsh, fish).

    Commands, options and words are completed, and, where the server answers at once, ids of tasks and names of agents,
    types and pools. They are remembered for 5 seconds in ~/.cache/nodelink (XDG_CACHE_HOME).
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is not known")
    script = kind(context.find_root().command, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE")
    click.echo(script.source_template % script.source_vars(), nl=False)
