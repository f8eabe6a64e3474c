"""Two runs against each other: whether they may be compared (runs), the verdicts (verdicts), and many (history)."""
