#!/bin/sh
# Maven 3.8, and com.adobe.testing:s3mock 5.2.0 as a dependency: which versions come with it.
#
# Guess: a release on Maven Central names the versions that it was built and tested with, so a project whose only
# dependency it is can start it.
# Seen: it ends before its first line of log. It was built with a parent's <dependencyManagement> (Spring Boot's), which holds
# for its own build alone; its users get for each library what lies nearest in the tree. That is slf4j-api 1.7.36, beside a
# logback 1.5 that needs version 2. With slf4j-api 2.0.18 named by the user it runs.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > pom.xml <<'END'
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>example.test</groupId><artifactId>alone</artifactId><version>1</version>
<dependencies><dependency><groupId>com.adobe.testing</groupId><artifactId>s3mock</artifactId><version>5.2.0</version></dependency></dependencies></project>
END
mvn -q -B -Dstyle.color=never dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=jars
(cd jars && ls slf4j-api-* logback-classic-*) | tee seen.txt
printf 'logback-classic-1.5.38.jar\nslf4j-api-1.7.36.jar\n' > expected.txt
diff expected.txt seen.txt
if timeout 60 java -cp 'jars/*' com.adobe.testing.s3mock.S3MockApplication --http.port=0 --server.port=0 > log.txt 2>&1; then
    exit 1
fi
grep -o -m 1 'java.lang.[A-Za-z]*Error[^@]*\|IllegalStateException: .*slf4j.*' log.txt | cut -c1-160
