#!/bin/sh
# S3Mock, com.adobe.testing:s3mock 5.2.0 (Java 17): the order of ListObjectsV2.
#
# Guess: keys are listed in the order of their UTF-8 bytes, as S3 documents, so a client may merge two lists, or stop at the
# first key past the one that it looks for.
# Seen: they are in the order of Java's strings, which are UTF-16. U+1F600 comes before U+FF5E, since its first unit is a
# surrogate, D83D; by bytes it comes after (F0 against EF). All other keys are in the same order, so a test on the mock
# passes until a picture's name has an emoji.
# The published pom leaves out which versions it was built with: slf4j-api is named here for that reason (s3mock-pom.sh).
set -eu
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cd "$folder"
dependency() { echo "<dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>$3</version></dependency>"; }
cat > pom.xml <<END
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>example.test</groupId><artifactId>order</artifactId><version>1</version>
<dependencies>$(dependency org.slf4j slf4j-api 2.0.18)$(dependency com.adobe.testing s3mock 5.2.0)</dependencies></project>
END
mvn -q -B -Dstyle.color=never dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=jars
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
java -cp 'jars/*' com.adobe.testing.s3mock.S3MockApplication --http.port="$port" --server.port=0 \
    --vectors.http.port=0 --vectors.https.port=0 --logging.level.root=error > log.txt 2>&1 &
server=$!
url=http://127.0.0.1:$port
curl -s --retry 60 --retry-delay 1 --retry-connrefused -X PUT "$url/order" > /dev/null
for key in z %EF%BD%9E %F0%9F%98%80; do
    curl -s -X PUT --data-binary x "$url/order/$key" > /dev/null
done
curl -s "$url/order?list-type=2" | grep -o '<Key>[^<]*' | cut -c6- | tee seen.txt
printf 'z\n\360\237\230\200\n\357\275\236\n' > expected.txt
diff expected.txt seen.txt
printf 'by bytes:\n' && LC_ALL=C sort seen.txt
