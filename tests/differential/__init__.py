"""The same questions to real uWSGI's fastrouter and to this one."""
