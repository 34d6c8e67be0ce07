"""The composition root: from a configuration to a running gateway. The only room that names all the parts."""
