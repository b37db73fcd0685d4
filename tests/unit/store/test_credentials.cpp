/// The credential chain with an environment and files of its own. FAKE metadata and token services:
/// see fake_http.hpp.
#include "fake_http.hpp"
#include "store/credential_sources.hpp"
#include "store/credentials.hpp"
#include "store/subprocess.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <random>

using namespace zl;

namespace {

using Req = FakeHttp::Request;
using Rep = FakeHttp::Reply;

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// A home directory, an environment, a clock and an HTTP client.
struct Bench {
    Bench()
        : home(std::filesystem::temp_directory_path() /
               ("zl-cred-" + std::to_string(std::random_device()()))) {
        std::filesystem::create_directories(home / ".aws");
        variables = {{"HOME", home.string()}, {"AWS_EC2_METADATA_DISABLED", "true"}};
    }
    ~Bench() { std::filesystem::remove_all(home); }

    void write(const std::string& name, const std::string& text) const {
        std::ofstream(home / name) << text;
    }
    std::string path(const std::string& name) const { return (home / name).string(); }
    CredentialContext context(const std::string& profile = {}) {
        Environment environment = [this](const std::string& name) -> std::optional<std::string> {
            auto it = variables.find(name);
            return it == variables.end() ? std::nullopt : std::optional(it->second);
        };
        return {environment, AwsConfig::load(environment), profile, "us-east-1", http, log,
                {},          [this] { return now; }};
    }
    Credentials load(const std::string& profile = {}) { return load_credentials(context(profile)); }
    Error refused(const std::string& profile = {}) {
        try {
            load(profile);
        } catch (const Error& e) {
            return e;
        }
        FAIL("credentials were found");
        return Error(ErrorKind::internal, "");
    }

    std::filesystem::path home;
    std::map<std::string, std::string> variables;
    HttpClient http{HttpClient::Options{}};
    NullLog log;
    TimePoint now = now_wall();
};

std::string document(const std::string& id, const std::string& token_field,
                     const std::string& expires = "2036-01-01T00:00:00Z") {
    return "{\"Code\":\"Success\",\"Version\":1,\"AccessKeyId\":\"" + id +
           "\",\"SecretAccessKey\":\"secret-of-" + id + "\",\"" + token_field + "\":\"token-of-" +
           id + "\",\"Expiration\":\"" + expires + "\"}";
}

std::string sts_reply(const std::string& action, const std::string& id) {
    return "<" + action + "Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><" +
           action + "Result><Credentials><AccessKeyId>" + id + "</AccessKeyId><SecretAccessKey>s-" +
           id + "</SecretAccessKey><SessionToken>t-" + id +
           "</SessionToken><Expiration>2036-01-01T00:00:00Z</Expiration></Credentials></" + action +
           "Result></" + action + "Response>";
}

} // namespace

TEST_SUITE_BEGIN("store/credentials");

TEST_CASE("shared files are read as AWS writes them") {
    IniSections ini = parse_ini("# comment\n[default]\nAWS_Access_Key_Id = a\n"
                                "secret=x#y # note\n; other\ns3 =\n  endpoint_url = http://h\n"
                                "  max = 3\nregion = r\n\n[ profile two ]\r\nk = v\r\nnonsense\n"
                                "empty =\n[unclosed\nz = 1");
    CHECK(ini["default"]["aws_access_key_id"] == "a");
    CHECK(ini["default"]["secret"] == "x#y");
    CHECK(ini["default"]["s3.endpoint_url"] == "http://h");
    CHECK(ini["default"]["s3.max"] == "3");
    CHECK(ini["default"]["region"] == "r");
    CHECK(ini["profile two"]["k"] == "v");
    CHECK(ini["profile two"]["empty"] == "");
    CHECK(parse_ini("").empty());
    CHECK(parse_ini("a = b\n").empty()); // no section
}

TEST_CASE("the environment goes before files, a profile in the url before both") {
    Bench b;
    b.write(".aws/credentials", "[default]\naws_access_key_id=FILE\naws_secret_access_key=s\n"
                                "[backup]\naws_access_key_id=BACKUP\naws_secret_access_key=s2\n"
                                "aws_session_token=t2\n");
    Credentials file = b.load();
    CHECK(file.access_key_id == "FILE");
    CHECK(file.source == "profile \"default\" in " + b.path(".aws/credentials"));
    CHECK(!file.expires.has_value());
    b.variables["AWS_PROFILE"] = "backup";
    CHECK(b.load().access_key_id == "BACKUP");
    CHECK(b.load().session_token == "t2");
    b.variables["AWS_ACCESS_KEY_ID"] = "ENV";
    b.variables["AWS_SECRET_ACCESS_KEY"] = "es";
    CHECK(b.load().access_key_id == "ENV");
    CHECK(b.load("backup").access_key_id == "BACKUP");
    b.variables.erase("AWS_SECRET_ACCESS_KEY");
    CHECK(has(b.refused().message(), "AWS_SECRET_ACCESS_KEY is not"));
}

TEST_CASE("the config file holds profiles too, and the credentials file wins") {
    Bench b;
    b.write(".aws/config", "[default]\nregion=r1\naws_access_key_id=CONF\naws_secret_access_key=s\n"
                           "[profile x]\naws_access_key_id=X\naws_secret_access_key=s\nregion=r2\n"
                           "[y]\naws_access_key_id=Y\naws_secret_access_key=s\n");
    CHECK(b.load().access_key_id == "CONF");
    CHECK(b.load("x").access_key_id == "X");
    CHECK(b.refused("y").kind() == ErrorKind::config); // not called `profile y`
    CHECK(b.context().config.text("x", "region") == "r2");
    b.write(".aws/credentials", "[default]\naws_access_key_id=CRED\naws_secret_access_key=s\n");
    CHECK(b.load().access_key_id == "CRED");
    b.variables["AWS_CONFIG_FILE"] = b.path("elsewhere");
    b.variables["AWS_SHARED_CREDENTIALS_FILE"] = b.path("creds");
    b.write("creds", "[default]\naws_access_key_id=ELSE\naws_secret_access_key=s\n");
    CHECK(b.load().access_key_id == "ELSE");
}

TEST_CASE("systemd's credential goes before the home directory") {
    Bench b;
    b.write(".aws/credentials", "[default]\naws_access_key_id=HOME\naws_secret_access_key=s\n");
    std::filesystem::create_directories(b.home / "unit");
    b.variables["CREDENTIALS_DIRECTORY"] = b.path("unit");
    CHECK(b.load().access_key_id == "HOME");
    b.write("unit/aws-credentials", "[default]\naws_access_key_id=UNIT\naws_secret_access_key=s\n");
    CHECK(b.load().access_key_id == "UNIT");
    CHECK(has(b.load().source, "unit/aws-credentials"));
}

TEST_CASE("broken profiles are named") {
    struct Row {
        const char* text;
        const char* part;
    };
    const Row rows[] = {
        {"aws_access_key_id=A\n", "aws_secret_access_key is missing"},
        {"aws_secret_access_key=hunter2\n", "aws_access_key_id is missing"},
        {"sso_session=corp\n", "SSO is not supported"},
        {"sso_start_url=https://x\n", "SSO is not supported"},
        {"role_arn=arn:r\n", "without source_profile"},
        {"role_arn=arn:r\ncredential_source=Moon\n", "Moon"},
        {"role_arn=arn:r\ncredential_source=EcsContainer\n", "EcsContainer"},
        {"role_arn=arn:r\nsource_profile=nowhere\n", "\"nowhere\" has no credentials"},
        {"role_arn=arn:r\nsource_profile=b\n[profile b]\nrole_arn=arn:s\nsource_profile=a\n",
         "leads back"},
        {"role_arn=arn:r\nsource_profile=b\nmfa_serial=m\n", "mfa_serial"},
    };
    for (const Row& row : rows) {
        INFO(row.text);
        Bench b;
        b.write(".aws/config", std::string("[profile a]\n") + row.text);
        Error e = b.refused("a");
        CHECK((e.kind() == ErrorKind::config || e.kind() == ErrorKind::denied));
        INFO(e.message());
        CHECK(has(e.message(), row.part));
        CHECK(has(e.message(), "profile \""));
        CHECK(!has(e.message(), "hunter2"));
    }
    Bench b;
    CHECK(b.refused("a").kind() == ErrorKind::config); // no such profile
    b.variables["AWS_PROFILE"] = "gone";
    CHECK(has(b.refused().message(), "\"gone\" does not exist"));
    b.variables.erase("AWS_PROFILE");
    b.write(".aws/config", "[default]\nregion=r\n"); // says nothing about credentials
    CHECK(b.refused().kind() == ErrorKind::denied);
}

TEST_CASE("credential_process") {
    Bench b;
    b.write("out.json", document("PROC", "SessionToken"));
    b.write(".aws/config", "[default]\ncredential_process = cat \"" + b.path("out.json") + "\"\n");
    Credentials got = b.load();
    CHECK(got.access_key_id == "PROC");
    CHECK(got.session_token == "token-of-PROC");
    CHECK(got.expires == parse_time("2036-01-01T00:00:00Z"));
    CHECK(has(got.source, "credential_process of profile \"default\""));
    b.write("out.json", "{\"AccessKeyId\":\"hunter2\", garbage hunter2");
    CHECK(b.refused().kind() == ErrorKind::denied);
    CHECK(!has(b.refused().message(), "hunter2"));
    b.write(".aws/config", "[default]\ncredential_process = exit 7\n");
    CHECK(has(b.refused().message(), "status 7"));
    b.write(".aws/config", "[default]\ncredential_process = yes\n");
    CHECK(b.refused().kind() == ErrorKind::data);
}

TEST_CASE("a command is stopped at its limit and by a stop request") {
    auto began = std::chrono::steady_clock::now();
    ProcessResult result = run_shell("echo begun; sleep 60", Millis(300), 1000, {});
    CHECK(!result.finished);
    CHECK(result.output == "begun\n");
    std::stop_source stop;
    std::jthread stopper([&] {
        std::this_thread::sleep_for(Millis(100));
        stop.request_stop();
    });
    CHECK_THROWS_AS(run_shell("sleep 60", std::chrono::minutes(1), 1000, stop.get_token()),
                    Interrupted);
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(5));
    result =
        run_shell("printf x; sleep 0.3; printf y; kill -TERM $$", std::chrono::minutes(1), 10, {});
    CHECK(result.finished);
    CHECK(result.output == "xy");
    CHECK(result.status == 128 + 15);
    // A child that keeps stdout open does not hold us up.
    began = std::chrono::steady_clock::now();
    result = run_shell("sleep 4 2>/dev/null & echo done", std::chrono::minutes(1), 100, {});
    CHECK(result.output == "done\n");
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(2));
}

TEST_CASE("a container's endpoint, with its token") {
    FakeHttp server([](const Req& r, Rep& reply) {
        if (r.header("authorization") != "tok3n")
            reply.send(403);
        else
            reply.send(200, document("BOX", "Token"));
    });
    Bench b;
    b.variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = server.url() + "/v1/creds?x=1";
    CHECK(b.refused().kind() == ErrorKind::denied);
    b.variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "tok3n";
    CHECK(b.load().access_key_id == "BOX");
    CHECK(b.load().session_token == "token-of-BOX");
    CHECK(server.requests().back().target == "/v1/creds?x=1");
    b.write("token", "tok3n\n");
    b.variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "stale";
    b.variables["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = b.path("token");
    CHECK(b.load().access_key_id == "BOX"); // the file goes first
    b.variables["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = b.path("absent");
    CHECK(b.refused().kind() == ErrorKind::denied);
    b.variables.erase("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    for (const char* elsewhere :
         {"http://evil.example/creds", "http://10.0.0.1/", "ftp://localhost/"}) {
        b.variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = elsewhere;
        CHECK(b.refused().kind() == ErrorKind::config);
    }
}

TEST_CASE("instance metadata, version 2 only") {
    FakeHttp server([](const Req& r, Rep& reply) {
        const std::string path = "/latest/meta-data/iam/security-credentials/";
        if (r.method == "PUT" && r.target == "/latest/api/token" &&
            r.has("x-aws-ec2-metadata-token-ttl-seconds"))
            reply.send(200, "TOKEN");
        else if (r.header("x-aws-ec2-metadata-token") != "TOKEN")
            reply.send(401);
        else if (r.target == path)
            reply.send(200, "my role\n");
        else if (r.target == path + "my%20role")
            reply.send(200, document("EC2", "Token"));
        else
            reply.send(404);
    });
    Bench b;
    b.variables.erase("AWS_EC2_METADATA_DISABLED");
    b.variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = server.url();
    Credentials got = b.load();
    CHECK(got.access_key_id == "EC2");
    CHECK(has(got.source, "instance metadata"));
    b.variables["AWS_EC2_METADATA_DISABLED"] = "TRUE";
    std::size_t before = server.count();
    CHECK(b.refused().kind() == ErrorKind::denied);
    CHECK(server.count() == before);

    FakeHttp bare([](const Req& r, Rep& reply) { reply.send(r.method == "PUT" ? 200 : 404, "T"); });
    b.variables.erase("AWS_EC2_METADATA_DISABLED");
    b.variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = bare.url();
    CHECK(has(b.refused().hint(), "no role"));

    FakeHttp silent([](const Req&, Rep& reply) { reply.hang(); });
    b.variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = silent.url();
    auto began = std::chrono::steady_clock::now();
    CHECK(has(b.refused().hint(), "no answer"));
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(5));
}

TEST_CASE("web identity") {
    FakeHttp sts([](const Req& r, Rep& reply) {
        if (has(r.body, "WebIdentityToken=j%2Bw%2Ft"))
            reply.send(200, sts_reply("AssumeRoleWithWebIdentity", "WEB"));
        else
            reply.send(400, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>bad"
                            "</Message></Error></ErrorResponse>");
    });
    Bench b;
    b.write("jwt", "j+w/t\n");
    b.variables["AWS_ENDPOINT_URL_STS"] = sts.url();
    b.variables["AWS_ROLE_ARN"] = "arn:aws:iam::1:role/r";
    b.variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = b.path("jwt");
    b.variables["AWS_ROLE_SESSION_NAME"] = "pod";
    Credentials got = b.load();
    CHECK(got.access_key_id == "WEB");
    CHECK(got.session_token == "t-WEB");
    CHECK(got.expires == parse_time("2036-01-01T00:00:00Z"));
    Req r = sts.requests().at(0);
    CHECK(r.method == "POST");
    CHECK(!r.has("authorization"));
    for (const char* part : {"Action=AssumeRoleWithWebIdentity", "Version=2011-06-15",
                             "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr", "RoleSessionName=pod"})
        CHECK(has(r.body, part));
    b.write("jwt", "other");
    Error e = b.refused();
    CHECK(e.kind() == ErrorKind::denied);
    CHECK(has(e.message(), "InvalidIdentityToken"));
    b.variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = b.path("absent");
    CHECK(b.refused().kind() == ErrorKind::denied);
}

TEST_CASE("assume-role chains, signed by the source") {
    FakeHttp sts([](const Req& r, Rep& reply) {
        if (has(r.body, "role%2Fouter") && r.credential().starts_with("BASE/"))
            reply.send(200, sts_reply("AssumeRole", "OUTER"));
        else if (has(r.body, "role%2Finner") && r.header("x-amz-security-token") == "t-OUTER")
            reply.send(200, sts_reply("AssumeRole", "INNER"));
        else
            reply.send(403, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message>"
                            "</Error></ErrorResponse>");
    });
    Bench b;
    b.variables["AWS_ENDPOINT_URL_STS"] = sts.url();
    b.write(".aws/credentials", "[base]\naws_access_key_id=BASE\naws_secret_access_key=s\n");
    b.write(".aws/config",
            "[profile outer]\nrole_arn=arn:x:role/outer\nsource_profile=base\n"
            "external_id=e&x\nregion=eu-q-1\nduration_seconds=1800\n"
            "[profile inner]\nrole_arn=arn:x:role/inner\nsource_profile=outer\n"
            "[profile own]\nrole_arn=arn:x:role/own\nsource_profile=own\n"
            "aws_access_key_id=OWN\naws_secret_access_key=s\n"
            "[profile env]\nrole_arn=arn:x:role/env\ncredential_source=Environment\n");
    Credentials got = b.load("inner");
    CHECK(got.access_key_id == "INNER");
    CHECK(has(got.source, "profile \"inner\""));
    CHECK(has(got.source, "profile \"base\""));
    Req r = sts.requests().at(0);
    CHECK(has(r.credential(), "/eu-q-1/sts/aws4_request"));
    CHECK(has(r.body, "ExternalId=e%26x"));
    CHECK(has(r.body, "DurationSeconds=1800"));
    CHECK(has(r.body, "RoleSessionName=zl-"));
    CHECK(b.refused("own").kind() == ErrorKind::denied);
    CHECK(sts.requests().back().credential().starts_with("OWN/"));
    CHECK(b.refused("env").kind() == ErrorKind::denied); // nothing in the environment
    b.variables["AWS_ACCESS_KEY_ID"] = "ENVK";
    b.variables["AWS_SECRET_ACCESS_KEY"] = "s";
    b.refused("env");
    CHECK(sts.requests().back().credential().starts_with("ENVK/"));
}

TEST_CASE("STS is asked again when it stumbles") {
    FakeHttp sts([](const Req& r, Rep& reply) {
        if (r.number == 1)
            reply.send(503);
        else if (r.number == 2)
            reply.reset();
        else
            reply.send(200, sts_reply("AssumeRoleWithWebIdentity", "WEB"));
    });
    Bench b;
    b.write("jwt", "x");
    b.variables["AWS_ENDPOINT_URL"] = sts.url(); // also the general one
    b.variables["AWS_ROLE_ARN"] = "arn";
    b.variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = b.path("jwt");
    CHECK(b.load().access_key_id == "WEB");
    CHECK(sts.count() == 3);
}

TEST_CASE("credentials are refreshed ahead of their end, and old ones used while they hold") {
    Bench b;
    auto expire_in = [&](std::chrono::minutes m, const std::string& id) {
        b.write("out.json", document(id, "SessionToken", format_rfc3339(b.now + m)));
    };
    b.write(".aws/config", "[default]\ncredential_process = cat " + b.path("out.json") + "\n");
    expire_in(std::chrono::minutes(60), "ONE");
    CredentialCache cache(b.context());
    CHECK(cache.get().access_key_id == "ONE");
    expire_in(std::chrono::minutes(120), "TWO");
    CHECK(cache.get().access_key_id == "ONE"); // still good
    b.now += std::chrono::minutes(56);
    CHECK(cache.get().access_key_id == "TWO");

    b.now += std::chrono::minutes(62); // 2 minutes left
    b.write("out.json", "broken");
    CHECK(cache.get().access_key_id == "TWO");
    b.write("out.json", document("THREE", "SessionToken"));
    CHECK(cache.get().access_key_id == "TWO"); // not asked again at once
    b.now += std::chrono::seconds(31);
    CHECK(cache.get().access_key_id == "THREE");

    b.now = parse_time("2036-01-02T00:00:00Z");
    b.write("out.json", "broken");
    try {
        cache.get();
        FAIL("expired credentials were used");
    } catch (const Error& e) {
        CHECK(e.kind() == ErrorKind::transient); // it worked before
    }
}

TEST_CASE("a refused token is replaced only by another one") {
    Bench b;
    b.write(".aws/credentials", "[default]\naws_access_key_id=A\naws_secret_access_key=s\n");
    CredentialCache cache(b.context());
    Credentials first = cache.get();
    CHECK(!cache.refresh(first));
    b.write(".aws/credentials", "[default]\naws_access_key_id=B\naws_secret_access_key=s\n");
    CHECK(cache.refresh(first));
    CHECK(cache.get().access_key_id == "B");
    CHECK(cache.refresh(first)); // a second thread with the same old ones
}

TEST_SUITE_END();
