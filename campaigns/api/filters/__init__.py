"""FilterSets of the native API's lists on this floor, a module a resource."""
