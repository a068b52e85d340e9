"""Keys: the table of bindings, their names, the palette made from them."""
