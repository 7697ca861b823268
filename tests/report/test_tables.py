from hybrid_attention.report.tables import Table, latex, markdown

TABLE = Table(
    key="odd",
    title="Odd & <even>",
    header=("run", "a_b (%)", "p"),
    rows=[("U|Net_#1", "-2.5 [-3.0, +1.0]", "< 0.001"), ("$x^2$ {~}\\", "n/a", "1.000")],
    note="100 % of <b>.",
    marked=frozenset({1}),
)


def test_markdown():
    assert markdown(TABLE).splitlines() == [
        "## Odd & <even>",
        "",
        "100 % of <b>.",
        "",
        r"| run | a_b (%) | p |",
        "|---|---|---|",
        r"| U\|Net_#1 | -2.5 [-3.0, +1.0] | \< 0.001 |",
        "| $x^2$ {~}\\ | n/a | 1.000 |",
    ]


def test_latex_is_escaped():
    text = latex(TABLE)
    assert r"\caption{Odd \& \textless{}even\textgreater{}. 100 \% of \textless{}b\textgreater{}.}" in text
    assert r"run & a\_b (\%) & p \\" in text
    assert r"U|Net\_\#1 & $-$2.5 [$-$3.0, +1.0] & \textless{} 0.001 \\" in text
    assert r"\$x\textasciicircum{}2\$ \{\textasciitilde{}\}\textbackslash{} & n/a & 1.000 \\" in text
    assert r"\begin{tabular}{lrr}" in text
    assert "resizebox" not in text


def test_wide_latex_tables_are_fitted():
    wide = Table("wide", "Wide", ("run", *"abcdefg"), [("name", *["77.8 [71.9, 83.1]"] * 7)])
    text = latex(wide)
    assert r"\resizebox{\linewidth}{!}{%" in text
    assert text.count("{") == text.count("}")
