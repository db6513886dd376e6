"""A fault-tolerant distributed search engine, made with Holdfast.

==============  ==================================================================================
`corpus.py`     what is searched: the docstrings of Python's standard library
`index.py`      one shard's full-text index, a file of SQLite FTS5, and its checksum
`worker.py`     the process that answers from one copy of one shard's index
`cluster.py`    shards of replicated workers: failover, load balancing, restart, copying back
`gateway.py`    `POST /search` over all shards
`retriever.py`  the same for LangChain
`havoc.py`      load, and workers that are killed under it
`__main__.py`   the show: `python -m search_engine`
==============  ==================================================================================
"""
