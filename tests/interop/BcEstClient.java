// An EST client (RFC 7030) made of BouncyCastle's EST classes, for the interoperability tests.
//
//   java BcEstClient cacerts|csrattrs|enroll|reenroll|pop  with settings in the environment:
//     EST_SERVER host:port, EST_CA file, EST_LABEL, EST_USER, EST_PASSWORD, EST_CERTIFICATE file, EST_KEY file,
//     EST_SUBJECT, EST_NEW_KEY file to write or read
//
// Prints PEM certificates, or object identifiers; "pending SECONDS" when the server asks to come back.

import java.io.FileReader;
import java.io.FileWriter;
import java.io.StringWriter;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.SecureRandom;
import java.security.Security;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.security.spec.ECGenParameterSpec;
import java.util.Collections;
import javax.net.ssl.KeyManagerFactory;
import javax.security.auth.x500.X500Principal;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.est.CSRRequestResponse;
import org.bouncycastle.est.ESTAuth;
import org.bouncycastle.est.ESTException;
import org.bouncycastle.est.ESTService;
import org.bouncycastle.est.EnrollmentResponse;
import org.bouncycastle.est.jcajce.ChannelBindingProvider;
import org.bouncycastle.est.jcajce.JcaHttpAuthBuilder;
import org.bouncycastle.est.jcajce.JcaJceUtils;
import org.bouncycastle.est.jcajce.JsseDefaultHostnameAuthorizer;
import org.bouncycastle.est.jcajce.JsseESTServiceBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.jsse.BCSSLSocket;
import org.bouncycastle.jsse.provider.BouncyCastleJsseProvider;
import org.bouncycastle.openssl.PEMKeyPair;
import org.bouncycastle.openssl.PEMParser;
import org.bouncycastle.openssl.jcajce.JcaPEMKeyConverter;
import org.bouncycastle.openssl.jcajce.JcaPEMWriter;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.pkcs.PKCS10CertificationRequestBuilder;
import org.bouncycastle.pkcs.jcajce.JcaPKCS10CertificationRequestBuilder;
import org.bouncycastle.util.Store;
import org.bouncycastle.util.io.Streams;

public final class BcEstClient {
    private static String setting(String name) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? null : value;
    }

    public static void main(String[] arguments) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        Security.addProvider(new BouncyCastleJsseProvider());
        String act = arguments[0];
        try {
            run(service(act.equals("pop")), act);
        } catch (ESTException refused) {
            System.err.println(refused.getMessage());
            if (refused.getBody() != null) {
                System.err.write(Streams.readAll(refused.getBody()));
            }
            System.exit(1);
        }
    }

    private static void run(ESTService service, String act) throws Exception {
        switch (act) {
            case "cacerts":
                print(service.getCACerts().getCertificateStore());
                break;
            case "csrattrs":
                CSRRequestResponse answer = service.getCSRAttributes();
                for (ASN1ObjectIdentifier one : answer.getAttributesResponse().getRequirements()) {
                    System.out.println(one.getId());
                }
                break;
            default:
                enroll(service, act);
        }
    }

    private static void enroll(ESTService service, String act) throws Exception {
        KeyPair pair = keyPair();
        ContentSigner signer = new JcaContentSignerBuilder("SHA256withECDSA").build(pair.getPrivate());
        boolean renews = act.equals("reenroll");
        X500Name subject = renews
            ? X500Name.getInstance(((X509Certificate) certificate()).getSubjectX500Principal().getEncoded())
            : X500Name.getInstance(new X500Principal(setting("EST_SUBJECT")).getEncoded());
        PKCS10CertificationRequestBuilder request =
            new JcaPKCS10CertificationRequestBuilder(subject, pair.getPublic());
        ESTAuth auth = setting("EST_USER") == null ? null
            : new JcaHttpAuthBuilder(null, setting("EST_USER"), setting("EST_PASSWORD").toCharArray())
                .setProvider("BC").setNonceGenerator(new SecureRandom()).build();
        EnrollmentResponse answer = act.equals("pop")
            ? service.simpleEnrollPoP(false, request, signer, auth)
            : service.simpleEnroll(renews, request.build(signer), auth);
        if (!answer.isCompleted()) {
            System.out.println("pending " + Math.round((answer.getNotBefore() - System.currentTimeMillis()) / 1000.0));
            return;
        }
        print(answer.getStore());
    }

    private static KeyPair keyPair() throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", "BC");
        generator.initialize(new ECGenParameterSpec("secp256r1"), new SecureRandom());
        KeyPair pair = generator.generateKeyPair();
        String file = setting("EST_NEW_KEY");
        if (file != null) {
            try (JcaPEMWriter writer = new JcaPEMWriter(new FileWriter(file))) {
                writer.writeObject(pair.getPrivate());
            }
        }
        return pair;
    }

    private static ESTService service(boolean bound) throws Exception {
        TrustAnchor anchor = new TrustAnchor((X509Certificate) read(setting("EST_CA")), null);
        JsseESTServiceBuilder builder = new JsseESTServiceBuilder(
            setting("EST_SERVER"), JcaJceUtils.getCertPathTrustManager(Collections.singleton(anchor), null));
        builder.withHostNameAuthorizer(new JsseDefaultHostnameAuthorizer(Collections.<String>emptySet()));
        builder.withTimeout(20000);
        if (setting("EST_LABEL") != null) {
            builder.withLabel(setting("EST_LABEL"));
        }
        if (setting("EST_CERTIFICATE") != null) {
            builder.withKeyManagers(keyManagers().getKeyManagers());
        }
        if (bound) {
            builder.withProvider("BCJSSE");
            builder.withTLSVersion("TLSv1.2");
            builder.withChannelBindingProvider(new ChannelBindingProvider() {
                public boolean canAccessChannelBinding(Socket socket) {
                    return socket instanceof BCSSLSocket;
                }

                public byte[] getChannelBinding(Socket socket, String binding) {
                    return ((BCSSLSocket) socket).getConnection().getChannelBinding(binding);
                }
            });
        }
        return builder.build();
    }

    private static KeyManagerFactory keyManagers() throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("own", privateKey(), new char[0], new Certificate[] {certificate()});
        KeyManagerFactory factory = KeyManagerFactory.getInstance("PKIX");
        factory.init(store, new char[0]);
        return factory;
    }

    private static Certificate certificate() throws Exception {
        return read(setting("EST_CERTIFICATE"));
    }

    private static Certificate read(String file) throws Exception {
        return CertificateFactory.getInstance("X.509")
            .generateCertificate(Files.newInputStream(Paths.get(file)));
    }

    private static PrivateKey privateKey() throws Exception {
        try (PEMParser parser = new PEMParser(new FileReader(setting("EST_KEY")))) {
            Object found = parser.readObject();
            PrivateKeyInfo info = found instanceof PEMKeyPair
                ? ((PEMKeyPair) found).getPrivateKeyInfo() : (PrivateKeyInfo) found;
            return new JcaPEMKeyConverter().getPrivateKey(info);
        }
    }

    private static void print(Store<X509CertificateHolder> store) throws Exception {
        StringWriter text = new StringWriter();
        try (JcaPEMWriter writer = new JcaPEMWriter(text)) {
            for (X509CertificateHolder one : ESTService.storeToArray(store)) {
                writer.writeObject(one);
            }
        }
        System.out.print(text);
    }
}
