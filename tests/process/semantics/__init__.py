"""Small facts about the programming model, one test each; the same files run on Ray 2.60."""
