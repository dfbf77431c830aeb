"""The parts of a parsed template. Lines are counted from 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: bool, int, float, complex or str."""

    value: bool | int | float | complex | str
    line: int


@dataclass(frozen=True, slots=True)
class Nil:
    """`nil`."""

    line: int


@dataclass(frozen=True, slots=True)
class Dot:
    """`.`."""

    line: int


@dataclass(frozen=True, slots=True)
class Field:
    """`.A.B`: names to follow from dot."""

    names: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Variable:
    """`$x.A.B`: a variable (its name has the dollar sign) and names to follow from it."""

    name: str
    names: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Chain:
    """`(...).A.B`: names to follow from the value of a pipeline or a function."""

    start: Operand
    names: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Function:
    """The name of a function."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Command:
    """One stage of a pipeline: what it begins with, and its arguments."""

    first: Operand
    arguments: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """`a b | c d`; its value is declared as, or assigned to, the variables."""

    commands: tuple[Command, ...]
    line: int
    variables: tuple[str, ...] = ()
    assigns: bool = False


Operand: TypeAlias = Literal | Nil | Dot | Field | Variable | Chain | Function | Pipeline


@dataclass(frozen=True, slots=True)
class Text:
    """What is written as it stands."""

    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """A pipeline whose value is printed, unless it declares or assigns variables."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Branch:
    """A condition (or what `with` looks at) and what is executed where it holds."""

    pipeline: Pipeline
    body: Nodes


@dataclass(frozen=True, slots=True)
class If:
    """`if`, each `else if`, `else`."""

    branches: tuple[Branch, ...]
    otherwise: Nodes = ()


@dataclass(frozen=True, slots=True)
class With:
    """`with`, each `else with`, `else`: dot is the value in the branch that is taken."""

    branches: tuple[Branch, ...]
    otherwise: Nodes = ()


@dataclass(frozen=True, slots=True)
class Range:
    """`range`, `else`."""

    pipeline: Pipeline
    body: Nodes
    otherwise: Nodes = ()


@dataclass(frozen=True, slots=True)
class Break:
    """`break`."""


@dataclass(frozen=True, slots=True)
class Continue:
    """`continue`."""


@dataclass(frozen=True, slots=True)
class Call:
    """`template "name" pipeline`."""

    name: str
    pipeline: Pipeline | None
    line: int


Node: TypeAlias = Text | Action | If | With | Range | Break | Continue | Call
Nodes: TypeAlias = tuple[Node, ...]

ROOT = ""
"""The name of the template that all others are defined in."""

Templates: TypeAlias = dict[str, Nodes]
