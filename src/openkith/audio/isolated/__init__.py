"""Audio of strangers, decoded where it can do no harm: in processes with little memory, little time and no rights.

sandbox           DecodePool: the processes, as the program sees them
worker            what runs in one of them
stream_decoder    audio that arrives in pieces, of any format
container_stream  a container in pieces, within a process
wire              the messages between the two sides
"""
