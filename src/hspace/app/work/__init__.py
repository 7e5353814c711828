"""Long work for visitors, in a process of its own: searches for directions, projections and what they do."""
