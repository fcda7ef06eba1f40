// The controller as code, without a plugin: users, one inbound agent, and its secret in a file that the
// agent's container reads. Runs at each start; what is there stays as it is.
import hudson.security.FullControlOnceLoggedInAuthorizationStrategy
import hudson.security.HudsonPrivateSecurityRealm
import hudson.slaves.DumbSlave
import hudson.slaves.JNLPLauncher
import java.nio.file.Files
import java.nio.file.attribute.PosixFilePermissions
import java.security.SecureRandom
import jenkins.model.Jenkins

def writePrivate = { File file, String text ->
    file.parentFile.mkdirs()
    if (!file.exists()) {
        Files.createFile(file.toPath(),
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString('rw-------')))
    }
    file.text = text
}

def jenkins = Jenkins.get()
if (!(jenkins.securityRealm instanceof HudsonPrivateSecurityRealm)) {
    def bytes = new byte[18]
    new SecureRandom().nextBytes(bytes)
    def password = bytes.encodeBase64().toString()
    def realm = new HudsonPrivateSecurityRealm(false)
    realm.createAccount('admin', password)
    jenkins.securityRealm = realm
    def strategy = new FullControlOnceLoggedInAuthorizationStrategy()
    strategy.allowAnonymousRead = false
    jenkins.authorizationStrategy = strategy
    writePrivate(new File(jenkins.rootDir, 'secrets/adminPassword'), password + '\n')
}
jenkins.numExecutors = 0
if (jenkins.getNode('agent-1') == null) {
    jenkins.addNode(new DumbSlave('agent-1', '/home/jenkins/agent', new JNLPLauncher()))
}
jenkins.save()
writePrivate(new File('/run/agent/agent-1.secret'), jenkins.getComputer('agent-1').jnlpMac + '\n')
