# psql for a connection that the server may refuse.

package Refused;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(psql_if_let);

# The node's psql method.  A server that refuses the connection can be gone before the
# script is written, which would otherwise end the test: then there is no output.
sub psql_if_let
{
	my ($node, $database, $sql, %params) = @_;
	my $done = eval { $node->psql($database, $sql, %params); 1 };

	return if $done;
	die $@ if $@ !~ /Broken pipe/;
	${ $params{stdout} } = '';
	${ $params{stderr} } = 'FATAL:  the connection was refused';
}

1;
