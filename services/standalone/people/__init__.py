"""`hayabin contacts | lists | segments | suppressions | consents`: people of a running Hayabin, over its REST API."""
