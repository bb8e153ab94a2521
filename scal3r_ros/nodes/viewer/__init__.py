"""The node `viewer`: what a mapper publishes, in the browser."""
