"""Rewrites a template's syntax tree so that what Jinja compiles to plain Python asks the meter first.

Calls, filters and operators go through the environment anyway; loops, bodies, `~`, slices, comparisons and dict keys
do not. Knows the names of the environment's methods (`charge`, `printed`, `copied`, `compared`, `compare`), not what
they do.
"""

# ruff: noqa: N802 (Jinja's visitor finds its methods by the node's class)

from __future__ import annotations

import jinja2
from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from puna.chat.meter import flat_size

STEP = 64
"""Bytes that a call, a loop's turn or an operator costs at least, so that their number is bounded too."""


def metered(tree: nodes.Template, environment: jinja2.Environment) -> nodes.Template:
    """The tree, rewritten in place. Every body that can run again pays for its fixed text each time it does."""
    _Metering().visit(tree)
    tree.set_environment(environment)
    return tree


class _Metering(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.Node:
        self._charge_body(node)
        if node.test is not None:
            node.test = nodes.And(_ask("charge", nodes.Const(STEP)), node.test)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        return self._charge_body(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        return self._charge_body(node)

    def visit_Block(self, node: nodes.Block) -> nodes.Node:
        return self._charge_body(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [_ask("printed", part) for part in node.nodes]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _ask("copied", node.node)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.key, nodes.Const):
            node.key = _ask("compared", node.key)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        if len(node.ops) == 1:
            (operand,) = node.ops
            return _ask("compare", node.expr, nodes.Const(operand.op), operand.expr)
        node.expr = _ask("compared", node.expr)
        for operand in node.ops:
            operand.expr = _ask("compared", operand.expr)
        return node

    def _charge_body(self, node: nodes.For | nodes.Macro | nodes.CallBlock | nodes.Block) -> nodes.Node:
        size = STEP + sum(_fixed_size(part) for part in node.find_all(nodes.Node))
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_ask("charge", nodes.Const(size)), lineno=node.lineno))
        return node


def _ask(method: str, *args: nodes.Expr) -> nodes.Call:
    line = args[0].lineno
    function = nodes.EnvironmentAttribute(method, lineno=line)
    return nodes.Call(function, list(args), [], None, None, lineno=line)


def _fixed_size(node: nodes.Node) -> int:
    """The bytes that running this node makes, by its text alone."""
    if isinstance(node, nodes.TemplateData):
        return flat_size(node.data)
    if isinstance(node, (nodes.List, nodes.Tuple, nodes.Dict)):
        return 64 + 100 * len(node.items)
    return 512 if isinstance(node, (nodes.Macro, nodes.CallBlock)) else 0
