# An app that behaves as it is told: perl app.pl MODE. What it prints is what a person would see.
use IO::Socket::INET;
$| = 1;
my $mode = shift;
my $release = "$mode release $ENV{ONWARD_RELEASE}";
print "app: mode $mode\n";
if ($mode eq "exits") { print STDERR "app: the configuration is missing\n"; exit 3 }
if ($mode eq "silent") { sleep 1 while 1 }
if ($mode eq "slow") { sleep 30 }
if ($mode eq "eats") { print STDERR "app: taking more and more memory\n"; kill 9, $$ }
my $port = $mode eq "wrong-port" ? 0 : $ENV{PORT};
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $port, Listen => 128,
    ReuseAddr => 1) or die "app: cannot listen: $!";
print "app: listening\n";
while (my $client = $listener->accept) {
    my $line = <$client>;
    next unless defined $line;
    while (my $header = <$client>) { last if $header =~ /^\r?\n$/ }
    my ($status, $body) = ("200 OK", "$release\n");
    if ($line =~ m{^\S+ /up }) {
        ($status, $body) = ("500 Oh no", "the database is away\n") if $mode eq "errors";
    } elsif ($mode eq "dies") {
        print STDERR "app: an assertion failed\n";
        exit 1;
    }
    print $client "HTTP/1.1 $status\r\nConnection: close\r\nContent-Length: " . length($body)
        . "\r\n\r\n$body";
    close $client;
}
