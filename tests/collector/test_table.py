import io

from tallyspan_collector.commands.table import OnTerminal


def test_no_name_in_an_answer_controls_the_terminal_in_whatever_cut_it_comes() -> None:
    answer = "│ é\x1b[2J\x9b31m\x07 │\tx\n".encode()
    for cut in range(len(answer)):
        terminal = io.BytesIO()
        out = OnTerminal(terminal)
        out.write(answer[:cut])
        out.write(answer[cut:])

        assert terminal.getvalue().decode() == "│ é\\x1b[2J\\x9b31m\\x07 │\tx\n"
