"""Problems of a person's files, as tests compare them."""

from meterstone_cli.problem import InputProblem


def without_line_and_id(problem: InputProblem) -> str:
    """Say where a problem is and what it is, as the commands do, apart from its line and its record's id."""
    return str(problem._replace(line=0, id=""))
