"""The refusal of what was declared wrongly: one error, with a line for each problem, raised before anything is served."""


class WrongDeclaration(Exception):
    """Some agents or tools are declared wrongly; the message has a line for each problem."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("Wrong agents:\n" + "\n".join(f"  {problem}" for problem in problems))
