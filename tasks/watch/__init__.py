"""Watch: new commits of followed models, and whether they may come in."""
