//! Servers and clients in Perl, which is all that a minimal Debian has.

/// Answers every request with a word.
pub(crate) const SERVER: &str = r#"exec perl -MIO::Socket::INET -e '
    my $server = IO::Socket::INET->new(LocalPort => 8080, Listen => 5, ReuseAddr => 1) or die;
    print "listening\n"; $| = 1;
    while (my $client = $server->accept) {
        while (<$client>) { last if /^\s*$/ }
        print $client "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        close $client;
    }'"#;

/// Asks a host and port for `/` and prints the answer; where none comes within 5 s, it ends with 124.
pub(crate) fn get(host: &str, port: u16) -> String {
    format!(
        r#"timeout 5 perl -MIO::Socket::INET -e '
            my $peer = IO::Socket::INET->new(PeerAddr => "{host}", PeerPort => {port}) or die "$@";
            print $peer "GET / HTTP/1.0\r\n\r\n"; print while <$peer>;'"#
    )
}
