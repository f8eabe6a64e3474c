"""Claims about the gradient, each ruled on with evidence, and the diagnosis of anybody's formula."""
