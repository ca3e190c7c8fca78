"""The holder: a service beside the gateway that wakes a sleeping model by a request, and holds the request meanwhile."""
