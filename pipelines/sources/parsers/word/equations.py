"""Word's formulas (OMML) -> one line of text. Source: ECMA-376, part 1, 22.1."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipelines.sources.parsers import linear_math as line
from pipelines.sources.parsers.word.ooxml import Element, M, W, all_of, made, replace, run

_TEXT = (M + "t", W + "t")


def write_equations(root: Element) -> None:
    """Put a run with its text in each formula's place."""
    for equation in all_of(root, M + "oMath"):
        inside = any(above.tag == M + "oMath" for above in equation.iterancestors())
        if not inside and (text := _said(equation)):
            replace(equation, run(f"{_gap(equation.getprevious(), -1)}{text}{_gap(equation.getnext(), 0)}"))
    for block in all_of(root, M + "oMathPara"):
        runs = [each for each in block if each.tag == W + "r"]
        above = block.getparent()
        if above is not None and above.tag == W + "p":
            replace(block, *runs)
        else:
            replace(block, made("p", *runs))


def _gap(beside: Element | None, at: int) -> str:
    """A blank, where a formula and the word beside it would run together."""
    text = "" if beside is None else "".join(str(each) for each in beside.itertext())
    return " " if text and text[at].isalnum() else ""


def _said(element: Element | None) -> str:
    """What an element's children say."""
    if element is None:
        return ""
    parts: list[str] = []
    runs = False  # a run goes on in the next: Word parts words and numbers as they were typed
    for child in element:
        if child.tag in (M + "r", W + "r"):
            text = "".join(each.text or "" for each in child.iter(*_TEXT))
            parts[-1:] = [parts[-1] + text] if runs else [*parts[-1:], text]
            runs = True
        elif not str(child.tag).endswith("Pr"):
            write = _WRITERS.get(child.tag)
            parts.append(write(child) if write else _said(child))
            runs = False
    return line.joined(parts)


def _part(element: Element, name: str) -> str:
    return _said(element.find(M + name))


def _property(element: Element, kind: str, name: str, otherwise: str) -> str:
    found = element.find(f"{M}{kind}/{M}{name}")
    return otherwise if found is None else found.get(M + "val", "")


def _delimited(element: Element) -> str:
    begin, end = (_property(element, "dPr", name, mark) for name, mark in (("begChr", "("), ("endChr", ")")))
    between = _property(element, "dPr", "sepChr", "|")
    return begin + f" {between} ".join(_said(each) for each in element.findall(M + "e")) + end


def _n_ary(element: Element) -> str:
    mark = _property(element, "naryPr", "chr", "∫")
    return f"{line.scripts(mark, _part(element, 'sub'), _part(element, 'sup'))} {_part(element, 'e')}"


def _function(element: Element) -> str:
    return f"{_part(element, 'fName')} {_part(element, 'e')}"


def _before(element: Element) -> str:
    return f"_({_part(element, 'sub')})^{line.grouped(_part(element, 'sup'))} {_part(element, 'e')}"


def _accented(element: Element) -> str:
    return _part(element, "e") + _property(element, "accPr", "chr", "\u0302")


def _matrix(element: Element) -> str:
    return line.matrix([line.row([_said(cell) for cell in row.findall(M + "e")]) for row in element.findall(M + "mr")])


_WRITERS: Mapping[object, Callable[[Element], str]] = {
    M + "f": lambda each: line.fraction(_part(each, "num"), _part(each, "den")),
    M + "sSup": lambda each: line.scripts(_part(each, "e"), above=_part(each, "sup")),
    M + "sSub": lambda each: line.scripts(_part(each, "e"), _part(each, "sub")),
    M + "sSubSup": lambda each: line.scripts(_part(each, "e"), _part(each, "sub"), _part(each, "sup")),
    M + "sPre": _before,
    M + "rad": lambda each: line.root(_part(each, "e"), _part(each, "deg")),
    M + "d": _delimited,
    M + "nary": _n_ary,
    M + "func": _function,
    M + "limLow": lambda each: line.scripts(_part(each, "e"), _part(each, "lim")),
    M + "limUpp": lambda each: line.scripts(_part(each, "e"), above=_part(each, "lim")),
    M + "acc": _accented,
    M + "m": _matrix,
    M + "eqArr": lambda each: "; ".join(_said(row) for row in each.findall(M + "e")),
}
