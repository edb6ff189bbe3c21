//! Ruby: `Gemfile`, Rails and other Rack apps.
//!
//! Gems are installed at build time into `vendor/bundle` and shipped with the release.

use std::path::Path;

use super::{CannotTell, Draft, Kind, Runs, text_of};

/// Where gems are installed.
const GEMS: &str = "vendor/bundle";

/// A Ruby project.
pub(super) struct Ruby {
    gemfile: String,
    lock: Option<String>,
    is_rails: bool,
    is_rack: bool,
}

/// Reads the `Gemfile`, if there is one.
pub(super) fn read(dir: &Path) -> Result<Option<Ruby>, CannotTell> {
    let Some(gemfile) = text_of(&dir.join("Gemfile"))? else { return Ok(None) };
    let lock = text_of(&dir.join("Gemfile.lock"))?;
    let is_rails = dir.join("config/application.rb").is_file() && has(&gemfile, "rails");
    Ok(Some(Ruby { gemfile, lock, is_rails, is_rack: dir.join("config.ru").is_file() }))
}

/// Whether a Gemfile asks for a gem.
fn has(gemfile: &str, gem: &str) -> bool {
    gemfile.lines().map(str::trim).any(|line| {
        let rest = line.strip_prefix("gem ").map(str::trim_start);
        rest.is_some_and(|rest| super::source::literals(rest).first() == Some(&gem))
    })
}

impl Ruby {
    /// Adds build, process and all that belongs to Rails.
    pub(super) fn describe(&self, dir: &Path, draft: &mut Draft) -> Result<Kind, CannotTell> {
        let command = if self.is_rails {
            if dir.join("config/puma.rb").is_file() && has(&self.gemfile, "puma") {
                "bundle exec puma -C config/puma.rb -b tcp://127.0.0.1:$PORT".to_owned()
            } else {
                "bundle exec rails server -b 127.0.0.1 -p $PORT".to_owned()
            }
        } else if self.is_rack && has(&self.gemfile, "puma") {
            "bundle exec puma -b tcp://127.0.0.1:$PORT".to_owned()
        } else if self.is_rack {
            "bundle exec rackup -o 127.0.0.1 -p $PORT".to_owned()
        } else {
            return Err(CannotTell::Unclear {
                why: "there is a Gemfile, and neither Rails nor a config.ru".to_owned(),
                help:
                    "write a Procfile with the line `web: bundle exec ruby FILE.rb` (the program \
                       listens on 127.0.0.1:$PORT), and run `onward init` again"
                        .to_owned(),
            });
        };
        draft.assume(format!("`{command}` is what runs"));
        self.complete(dir, draft)?;
        draft.web(Runs::Command(command));
        Ok(if self.is_rails { Kind::Rails } else { Kind::Ruby })
    }

    /// Adds the build, and what the framework needs besides.
    pub(super) fn complete(&self, dir: &Path, draft: &mut Draft) -> Result<(), CannotTell> {
        draft.found(format!(
            "Gemfile{}: {}",
            if self.lock.is_some() { " and Gemfile.lock" } else { "" },
            if self.is_rails { "a Rails app" } else { "a Ruby project" }
        ));
        let frozen = if self.lock.is_some() { "BUNDLE_FROZEN=true " } else { "" };
        draft.build.push(format!(
            "BUNDLE_PATH={GEMS} BUNDLE_WITHOUT=development:test {frozen}bundle install"
        ));
        draft.include(GEMS);
        draft.value("BUNDLE_PATH", GEMS);
        draft.value("BUNDLE_WITHOUT", "development:test");
        draft.value("RACK_ENV", "production");
        if self.is_rails {
            self.rails(dir, draft)?;
        }
        Ok(())
    }

    fn rails(&self, dir: &Path, draft: &mut Draft) -> Result<(), CannotTell> {
        draft.value("RAILS_ENV", "production");
        draft.value("RAILS_LOG_TO_STDOUT", "1");
        draft.value("RAILS_SERVE_STATIC_FILES", "1");
        draft.assume("it runs in the environment `production` and serves its static files itself");
        if ["sprockets-rails", "propshaft", "sassc-rails", "webpacker", "shakapacker"]
            .iter()
            .any(|gem| has(&self.gemfile, gem))
        {
            draft.build.push(format!(
                "RAILS_ENV=production SECRET_KEY_BASE_DUMMY=1 SECRET_KEY_BASE=only-for-the-build \
                 BUNDLE_PATH={GEMS} BUNDLE_WITHOUT=development:test bundle exec rails \
                 assets:precompile"
            ));
            draft.include("public/assets");
            draft.assume("assets are compiled into public/assets/ by the build");
        }
        let has_tables = dir.join("db/migrate").is_dir() || dir.join("db/schema.rb").is_file();
        if has_tables && draft.release.is_none() {
            draft.release = Some("bundle exec rails db:prepare".to_owned());
            draft.assume("the database is made and migrated before a new version starts");
        }
        draft.share_dir("storage");
        draft.assume("storage/ holds uploads and may hold databases, so it survives releases");
        let database = text_of(&dir.join("config/database.yml"))?.unwrap_or_default();
        let file = database.lines().filter_map(|line| line.trim().strip_prefix("database:"));
        for file in file.map(|file| file.trim().trim_matches(['"', '\''])) {
            if file.contains("production") && file.ends_with(".sqlite3") {
                draft.share_file(file);
            }
        }
        self.secret_key(dir, draft);
        let routes = text_of(&dir.join("config/routes.rb"))?.unwrap_or_default();
        let mut lines = routes.lines().filter(|line| !line.trim_start().starts_with('#'));
        if lines.any(|line| line.contains("\"up\" => \"rails/health#show\"")) {
            draft.health = Some("/up".to_owned());
        }
        Ok(())
    }

    fn secret_key(&self, dir: &Path, draft: &mut Draft) {
        let has_credentials = dir.join("config/credentials.yml.enc").is_file();
        let name = if has_credentials { "RAILS_MASTER_KEY" } else { "SECRET_KEY_BASE" };
        draft.secret(name);
    }
}
