from hybrid_attention.report.figures import legend, look_of, new_figure


def test_runs_are_told_apart():
    looks = [tuple(look_of(index).values()) for index in range(28)]
    assert len(set(looks)) == 28
    assert look_of(28) == look_of(0)


def test_names_are_no_formulas():
    figure = new_figure(4, 3)
    figure.subplots().plot([0, 1], label="net_$1$")
    legend(figure)
    (names,) = figure.legends
    assert [(text.get_text(), text.get_parse_math()) for text in names.get_texts()] == [("net_$1$", False)]
