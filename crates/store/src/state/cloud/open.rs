//! From the URL of a store to a way there, with credentials from where the cloud's own tools have
//! them.

use std::sync::Arc;

use object_store::StaticCredentialProvider;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GcpCredential, GcpCredentialProvider, GoogleCloudStorageBuilder};

use super::aws_files;
use super::wire::{Watched, Wire, no_retries, options};
use crate::state::url::{Bucket, StoreUrl};

/// The variables that say who asks S3. Nothing else of the environment changes what is done.
const AWS: [&str; 9] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// The variables that say who asks Azure.
const AZURE: [&str; 8] = [
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_USE_AZURE_CLI",
];

/// The file with the credentials of an application, of Google.
const GOOGLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// What S3 itself calls its first region; what speaks its protocol elsewhere takes any.
const ANY_REGION: &str = "us-east-1";

/// The variables of the environment.
type Variables<'v> = &'v dyn Fn(&str) -> Option<String>;

/// The way to the bucket of `url`.
pub(super) fn wire(url: &StoreUrl, variable: Variables<'_>) -> Result<Wire, String> {
    let watched = Watched::default();
    let store: Box<dyn object_store::ObjectStore> = match &url.bucket {
        Bucket::S3 { name, region } => {
            let builder =
                s3(url, name, region.as_deref(), variable)?.with_http_connector(watched.clone());
            Box::new(builder.build().map_err(|error| error.to_string())?)
        }
        Bucket::Google { name } => {
            let builder = google(url, name, variable).with_http_connector(watched.clone());
            Box::new(builder.build().map_err(|error| error.to_string())?)
        }
        Bucket::Azure { account, container } => {
            let builder =
                azure(url, account, container, variable).with_http_connector(watched.clone());
            Box::new(builder.build().map_err(|error| error.to_string())?)
        }
    };
    Wire::new(store, &watched).map_err(|error| error.to_string())
}

fn s3(
    url: &StoreUrl,
    name: &str,
    region: Option<&str>,
    variable: Variables<'_>,
) -> Result<AmazonS3Builder, String> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(name)
        .with_disable_bulk_delete(true)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_client_options(options(url.is_plain()))
        .with_allow_http(url.is_plain())
        .with_retry(no_retries());
    let profile = aws_files::profile(variable)?;
    let mut given = false;
    for name in AWS {
        let key: Option<AmazonS3ConfigKey> = name.to_ascii_lowercase().parse().ok();
        if let (Some(key), Some(value)) = (key, variable(name)) {
            given = true;
            builder = builder.with_config(key, value);
        }
    }
    if let Some(keys) = profile.keys.filter(|_| !given) {
        builder = builder.with_access_key_id(keys.id).with_secret_access_key(keys.secret);
        if let Some(token) = keys.token {
            builder = builder.with_token(token);
        }
    }
    let elsewhere = url.endpoint.as_ref().map(|_| ANY_REGION.to_owned());
    let region = region
        .map(ToOwned::to_owned)
        .or_else(|| variable("AWS_REGION"))
        .or_else(|| variable("AWS_DEFAULT_REGION"))
        .or(profile.region)
        .or(elsewhere)
        .ok_or("it does not say where the bucket is: add `?region=REGION`, or set AWS_REGION")?;
    builder = builder.with_region(region);
    Ok(match &url.endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint),
        None => builder,
    })
}

fn google(url: &StoreUrl, name: &str, variable: Variables<'_>) -> GoogleCloudStorageBuilder {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(name)
        .with_client_options(options(url.is_plain()))
        .with_retry(no_retries());
    match variable(GOOGLE) {
        Some(file) => builder = builder.with_application_credentials(file),
        // An emulator on this machine, which asks for none.
        None if url.is_plain() => builder = builder.with_credentials(anybody()),
        None => {}
    }
    match &url.endpoint {
        Some(endpoint) => builder.with_base_url(endpoint),
        None => builder,
    }
}

/// Who asks an emulator.
fn anybody() -> GcpCredentialProvider {
    Arc::new(StaticCredentialProvider::new(GcpCredential { bearer: String::new() }))
}

fn azure(
    url: &StoreUrl,
    account: &str,
    container: &str,
    variable: Variables<'_>,
) -> MicrosoftAzureBuilder {
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(container)
        .with_client_options(options(url.is_plain()))
        .with_allow_http(url.is_plain())
        .with_retry(no_retries());
    for name in AZURE {
        let key: Option<AzureConfigKey> = name.to_ascii_lowercase().parse().ok();
        if let (Some(key), Some(value)) = (key, variable(name)) {
            builder = builder.with_config(key, value);
        }
    }
    match &url.endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint.clone()),
        None => builder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_one_that_the_library_knows() {
        for name in AWS {
            assert!(name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>().is_ok(), "{name}");
        }
        for name in AZURE {
            assert!(name.to_ascii_lowercase().parse::<AzureConfigKey>().is_ok(), "{name}");
        }
    }
}
