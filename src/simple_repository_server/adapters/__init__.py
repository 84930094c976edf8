"""Components of other libraries as repositories of this one, and the other way round."""
