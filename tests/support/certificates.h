// An authority that issues certificates to tests, valid for an hour. Not for anything else: keys lie in plain files.
#ifndef QZO_TESTS_SUPPORT_CERTIFICATES_H_
#define QZO_TESTS_SUPPORT_CERTIFICATES_H_

#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "proto/tls.h"

namespace qzo::testing {

class Authority {
 public:
  // Writes its certificate to `directory`/`name`.pem.
  Authority(std::string directory, const std::string& name)
      : directory_(std::move(directory)), path_(directory_ + "/" + name + ".pem"), key_(EVP_EC_gen("P-256")) {
    certificate_ = NewCertificate(key_.get(), name);
    AddExtension(NID_basic_constraints, "critical,CA:TRUE");
    Sign(path_);
  }

  // Replaces `directory`/`name`.pem and .key. `san` is as OpenSSL's configuration files have it: "IP:127.0.0.1", say.
  rpc::TlsFiles Issue(const std::string& name, const std::string& san) {
    const Key key(EVP_EC_gen("P-256"));
    const Certificate own = std::exchange(certificate_, NewCertificate(key.get(), name));
    X509_set_issuer_name(certificate_.get(), X509_get_subject_name(own.get()));
    AddExtension(NID_subject_alt_name, san.c_str());
    const rpc::TlsFiles files{path_, directory_ + "/" + name + ".pem", directory_ + "/" + name + ".key"};
    Write(files.key,
          [&](FILE* file) { return PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
    Sign(files.cert);
    certificate_ = Certificate(X509_dup(own.get()));
    return files;
  }

  const std::string& path() const { return path_; }

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(X509* certificate) const { X509_free(certificate); }
  };
  using Key = std::unique_ptr<EVP_PKEY, Free>;
  using Certificate = std::unique_ptr<X509, Free>;

  static Certificate NewCertificate(EVP_PKEY* key, const std::string& name) {
    static long serial = 0;
    Certificate certificate(X509_new());
    X509_set_version(certificate.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
    X509_set_pubkey(certificate.get(), key);
    X509_NAME* subject = X509_get_subject_name(certificate.get());
    const auto* text = reinterpret_cast<const unsigned char*>(name.c_str());
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, text, -1, -1, 0);
    X509_set_issuer_name(certificate.get(), subject);
    return certificate;
  }
  void AddExtension(int nid, const char* value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
    EXPECT_NE(extension, nullptr) << value;
    X509_add_ext(certificate_.get(), extension, -1);
    X509_EXTENSION_free(extension);
  }
  void Sign(const std::string& path) {
    EXPECT_GT(X509_sign(certificate_.get(), key_.get(), EVP_sha256()), 0);
    Write(path, [this](FILE* file) { return PEM_write_X509(file, certificate_.get()); });
  }
  template <typename Writer>
  static void Write(const std::string& path, const Writer& write) {
    FILE* file = std::fopen((path + ".new").c_str(), "w");
    ASSERT_NE(file, nullptr) << path;
    EXPECT_EQ(write(file), 1);
    std::fclose(file);
    std::filesystem::rename(path + ".new", path);
  }

  const std::string directory_;
  const std::string path_;
  const Key key_;
  Certificate certificate_;  // its own, or the one being made
};

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_CERTIFICATES_H_
