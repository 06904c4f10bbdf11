"""Events in rows and columns: the plain ones, which are nearly all, go through the steps without becoming objects."""
