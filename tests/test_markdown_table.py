"""Tables of Markdown."""

from regard.markdown_table import table_lines


def test_rows_become_lines_beneath_a_rule_and_no_bar_ends_a_cell():
    assert table_lines([["cell", "FTPT"], ["a | b", "1"], ["c", ""]]) == [
        "| cell | FTPT |",
        "| --- | --- |",
        "| a / b | 1 |",
        "| c |  |",
    ]
