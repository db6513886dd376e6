"""A `/predict` service with fault tolerance on by default; its README says how to run it.

==================  ======================================================================================
`app.py`            the service: one route, one decorator on its call of a model, health and metrics
`limits.py`         what every request meets: the deadline its client names, and the door while we drain
`errors.py`         which HTTP status each failure is
`metrics.py`        Holdfast's figures in the text format of Prometheus
`__main__.py`       runs it, and stops it without cutting anybody off
`upstream.py`       a model server that fails when it is told to
`drive.py`          runs all of it as real processes, makes them fail, and prints what clients saw
==================  ======================================================================================
"""
