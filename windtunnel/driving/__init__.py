"""The programs that drive a server: generators of load, and the server that does nothing by which they are measured.

They run in processes of their own and import nothing of the product but each other: Locust patches the sockets of whoever imports
it, and what a generator does not import it need not collect, page in or wait for.
"""
