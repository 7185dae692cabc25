//! A repository in S3 through the command line: what goes wrong first when one is set up ends in
//! one sentence and a hint. The sentences themselves are tested with the store.

mod needs_moto {
    use crate::delivered::in_bucket;
    use crate::nights::{furnish, pass_a_night};
    use crate::servers::moto::Moto;
    use crate::tree::Tree;

    #[test]
    fn two_nights_come_back_from_a_bucket() {
        let Some(moto) = Moto::start() else { return };
        let env = in_bucket(&moto.access);
        let report = env.init(&["--json"]).expect(0).json();
        assert_eq!(report["repository"], env.repo());
        furnish(&env);
        let first_night = Tree::read(&env.path("store"));
        let first = env.backup(&["--json"]).expect(0).json();
        pass_a_night(&env);
        let second = env.backup(&["--json"]).expect(0).json();
        // Three requests for each of three changed mailboxes and four for the run, and a key for
        // the new mailbox.
        let requests = second["requests"]["total"].as_u64().unwrap();
        assert!(requests <= 3 * 3 + 4 + 1, "{second}");
        env.restore(first["snapshot"].as_str().unwrap(), "first").expect(0);
        first_night.assert_restored(&env.path("first"));
        env.restore("latest", "second").expect(0);
        Tree::read(&env.path("store")).assert_restored(&env.path("second"));
        for level in ["listed", "stored", "content"] {
            env.run(&["verify", env.repo(), "--level", level]).expect(0);
        }
    }

    #[test]
    fn a_wrong_bucket_is_told() {
        let Some(moto) = Moto::start() else { return };
        let env = in_bucket(&moto.access).at("s3://volt/mail");
        let sentence = format!("there is no bucket `volt` at {}", moto.access.endpoint);
        let hint = "create the bucket, or check its name, the endpoint and the region";
        let output = env.init(&[]).expect(1);
        assert!(output.stderr.starts_with("error: "), "{output}");
        assert!(output.stderr.ends_with(&format!(": {sentence}\nhint: {hint}\n")), "{output}");
        assert_eq!(output.stderr.lines().count(), 2, "{output}");
        assert!(!env.identity().exists(), "an identity without a repository");
        furnish(&env);
        let output = env.backup(&[]).expect(1);
        assert!(output.stderr.ends_with(&format!(": {sentence}\nhint: {hint}\n")), "{output}");
    }

    #[test]
    fn a_wrong_key_is_told_and_the_secret_is_not() {
        let Some(moto) = Moto::start() else { return };
        let env = in_bucket(&moto.access);
        env.init(&[]).expect(0);
        furnish(&env);
        moto.require_auth();
        let output = env.backup(&[]).expect(1);
        let end = ": the server does not know the access key\n\
                   hint: check AWS_ACCESS_KEY_ID, or which profile AWS_PROFILE names\n";
        assert!(output.stderr.ends_with(end), "{output}");
        assert_eq!(output.stderr.lines().count(), 2, "{output}");
        assert!(!output.stderr.contains(&moto.access.secret), "{output}");
    }

    #[test]
    fn a_bucket_without_a_repository_is_told() {
        let Some(moto) = Moto::start() else { return };
        let env = in_bucket(&moto.access);
        let sentence = format!("there is no repository at {}", env.repo());
        let hint = "make one with `mailrig init`";
        env.run(&["snapshots", env.repo()]).expect_error(1, &sentence, hint);
    }
}
