"""The models that are trained. What ends in a vocabulary calls its head `output`: by that name the peers find it."""
