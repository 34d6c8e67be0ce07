"""Was the answer any good? Outcomes of inference calls, profiles of models, and the choice made from them."""
