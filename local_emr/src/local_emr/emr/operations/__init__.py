"""The operations of the EMR API by family.

Each public method of a family is an operation by its snake_case name: it takes the request as a dict, already checked
against botocore's model of the API, and the caller's region, and returns the answer as a dict.
"""
