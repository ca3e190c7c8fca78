"""Look at what serves: releases, replicas, nodes, requests and what they cost."""
