"""Lineage as text: a tree for terminals, `dot` for Graphviz, Mermaid for Markdown pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runicorn_artifacts.lineage import LineageGraph, LineageNode

if TYPE_CHECKING:
    from rich.tree import Tree

_MERMAID_SHAPES = {"model": ("([", "])"), "dataset": ("[(", ")]")}
_OTHER_SHAPE = ("[", "]")
_RUN_SHAPE = ("{{", "}}")


def as_mermaid(graph: LineageGraph) -> str:
    """A Mermaid flowchart."""
    names = _names(graph)
    lines = ["flowchart LR"]
    for node in graph.nodes:
        is_run = node.node_type == "run"
        first, last = _RUN_SHAPE if is_run else _MERMAID_SHAPES.get(str(node.metadata.get("type")), _OTHER_SHAPE)
        text = _text(node).replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
        lines.append(f'    {names[_key(node)]}{first}"{text}"{last}')
    for source, target in _edges(graph, names):
        lines.append(f"    {source} --> {target}")
    return "\n".join(lines)


def as_dot(graph: LineageGraph) -> str:
    """A graph in the language of Graphviz."""
    names = _names(graph)
    lines = ["digraph lineage {", "    rankdir=LR;"]
    for node in graph.nodes:
        shape = "ellipse" if node.node_type == "run" else "box"
        text = _text(node).replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'    {names[_key(node)]} [label="{text}", shape={shape}];')
    for source, target in _edges(graph, names):
        lines.append(f"    {source} -> {target};")
    return "\n".join([*lines, "}"])


def as_tree(graph: LineageGraph) -> Tree:
    """A tree with two branches: what the root came from, and what was made of it. A node's own branch is shown once."""
    from rich.text import Text
    from rich.tree import Tree

    nodes = {_key(node): node for node in graph.nodes}
    sources: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    targets: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for source, target in _ends(graph):
        sources[target].append(source)
        targets[source].append(target)
    if not graph.nodes:
        return Tree(Text(graph.root_artifact))
    root = _key(graph.nodes[0])
    tree = Tree(Text(_text(graph.nodes[0]), style="bold"))
    for title, following in (("came from", sources), ("led to", targets)):
        if following[root]:
            _grow(tree.add(Text(title, style="italic")), root, following, nodes)
    return tree


def _grow(
    tree: Tree,
    root: tuple[str, str],
    following: Mapping[tuple[str, str], Sequence[tuple[str, str]]],
    nodes: Mapping[tuple[str, str], LineageNode],
) -> None:
    from rich.text import Text

    seen = {root}
    waiting = [(tree, root)]
    while waiting:
        branch, key = waiting.pop()
        for found in following[key]:
            again = found in seen
            more = " …" if again and following[found] else ""
            style = "cyan" if found[0] == "run" else ""
            child = branch.add(Text(_text(nodes[found]) + more, style=style))
            if not again:
                seen.add(found)
                waiting.append((child, found))


def _text(node: LineageNode) -> str:
    if node.node_type == "run":
        name = node.metadata.get("name")
        text = f"run {node.node_id}" + (f" ({name})" if name else "")
    else:
        status = str(node.metadata.get("status", "ready"))
        text = f"{node.node_id} ({node.metadata.get('type')}" + (")" if status == "ready" else f", {status})")
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _key(node: LineageNode) -> tuple[str, str]:
    return node.node_type, node.node_id


def _names(graph: LineageGraph) -> dict[tuple[str, str], str]:
    return {_key(node): f"n{number}" for number, node in enumerate(graph.nodes)}


def _ends(graph: LineageGraph) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    kinds = {"uses": ("artifact", "run"), "produces": ("run", "artifact")}
    return [((kinds[edge.edge_type][0], edge.source), (kinds[edge.edge_type][1], edge.target)) for edge in graph.edges]


def _edges(graph: LineageGraph, names: Mapping[tuple[str, str], str]) -> list[tuple[str, str]]:
    return [(names[source], names[target]) for source, target in _ends(graph)]
